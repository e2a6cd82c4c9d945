"""What everything else is said in: task, budget, target, edits, codings, plan, errors."""
