"""Datasets that the processes of a machine share: each is fetched once, into a cache."""
