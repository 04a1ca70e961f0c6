"""Models that other libraries trained, as cprlab's recommenders."""
