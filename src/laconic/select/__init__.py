"""Choosing: what every change costs, and which changes together meet a budget for the least."""

from laconic.prune.weights import MaskThen
from laconic.select.allocate import allocate
from laconic.select.front import front
from laconic.select.in_order import carried_out
from laconic.select.menu import EVERYTHING, MENU
from laconic.select.offer import Choice, JointOffer, Offer, PriceList
from laconic.select.price import price
from laconic.select.refine import Refined, refine
from laconic.select.yardstick import Yardstick

__all__ = [
    "EVERYTHING",
    "MENU",
    "Choice",
    "JointOffer",
    "MaskThen",
    "Offer",
    "PriceList",
    "Refined",
    "Yardstick",
    "allocate",
    "carried_out",
    "front",
    "price",
    "refine",
]
