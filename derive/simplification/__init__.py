"""From a chunked backward to the cheapest one: change of variables, factoring, naming, search."""
