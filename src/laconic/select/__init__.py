"""Choosing: what every change costs, and which changes together meet a budget for the least."""

from laconic.prune.weights import MaskThen
from laconic.select.allocate import allocate
from laconic.select.in_order import carried_out
from laconic.select.menu import MENU
from laconic.select.offer import Choice, Offer, PriceList
from laconic.select.price import price

__all__ = ["MENU", "Choice", "MaskThen", "Offer", "PriceList", "allocate", "carried_out", "price"]
