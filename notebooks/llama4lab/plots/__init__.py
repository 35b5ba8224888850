"""Pictures of results, where drawing them teaches nothing: a module for each notebook, a function for each figure."""
