"""Graders of the notebook in which readers write a Llama 4: twelve functions, from a norm to an answer."""

from .parts_of_a_stack import FORWARD, GENERATE, LAYER
from .parts_of_attention import ATTEND, ATTENTION, SEES, TEMPERATURE
from .parts_of_experts import EXPERTS, ROUTE
from .parts_of_positions import FREQUENCIES, ROTATE, UNIT_RMS

ORDER = (UNIT_RMS, FREQUENCIES, ROTATE, SEES, TEMPERATURE, ATTEND, ATTENTION, ROUTE, EXPERTS, LAYER, FORWARD, GENERATE)
EXERCISES = dict(enumerate(ORDER, 1))
