"""Explorers: choose, and see what follows. Some are part of the page, the others need a running kernel."""

from llama4lab.explore.context import explore_context
from llama4lab.explore.experts import explore_experts, in_context
from llama4lab.explore.mask import explore_mask
from llama4lab.explore.pictures import explore_pictures
from llama4lab.explore.routing import explore_routing, routing_html, token_texts
from llama4lab.explore.size import explore_size

__all__ = [
    "explore_context",
    "explore_experts",
    "explore_mask",
    "explore_pictures",
    "explore_routing",
    "explore_size",
    "in_context",
    "routing_html",
    "token_texts",
]
