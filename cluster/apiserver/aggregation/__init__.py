"""Groups and versions that other servers serve behind ours: APIService objects and all that they bring about."""
