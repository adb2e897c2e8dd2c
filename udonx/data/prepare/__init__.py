"""From folders of images, one per class, to a benchmark in UnED's layout."""
