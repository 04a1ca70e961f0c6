"""cprlab: when does the output softmax of a sequential recommender fail to copy or to exclude, and what fixes it."""
