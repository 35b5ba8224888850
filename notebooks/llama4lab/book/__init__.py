"""The course as a web page: a static site made of the stored notebooks, the ledger, the models' cards and llama4.py.

Nothing is executed, and nothing is fetched by the page: fonts, MathJax and scripts are files beside it.
"""
