"""Folders of images to a file of results: ``hal classify``, in process or against a running service."""
