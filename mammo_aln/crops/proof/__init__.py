"""Contact sheets: views with their windows, beside the crops."""
