"""A local page and an HTTP API over an index: drop a picture, see its neighbours."""
