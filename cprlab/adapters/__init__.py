"""Convert models trained by other libraries to cprlab recommenders."""
