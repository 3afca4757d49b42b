"""Starting weights from other labels, or from none."""
