"""Keeping the experts of a model in training equally busy: by a loss, by a bias, or not at all."""

import torch
from torch.nn.functional import one_hot
from transformers.models.llama4.modeling_llama4 import Llama4Router

METHODS = ("loss", "bias", "none")


def balance_loss(router_logits: list[torch.Tensor]) -> torch.Tensor:
    """The Switch load-balancing loss (arXiv 2101.03961, eq. 4), averaged over layers; 1 is perfect balance.

    Llama 4's sigmoid scores do not sum to 1, so P is the softmax of the logits. Each element is `[tokens, experts]`.
    """
    losses = []
    for logits in router_logits:
        experts = logits.shape[1]
        load = one_hot(logits.argmax(dim=1), experts).float().mean(dim=0)
        losses.append(experts * (load * logits.softmax(dim=1).mean(dim=0)).sum())
    return torch.stack(losses).mean()


class Balance:
    """Watches every router of a model through forward hooks, and with method 'bias' changes what they choose.

    'bias' is the loss-free balancing of arXiv 2408.15664: a bias for each expert is added where experts are chosen, not
    in the score; after each step it rises by `bias_rate` where an expert had less than its share and falls where it had
    more. The bias is part of the training run, not of the model: Llama 4's router has none.

    Attributes:
        router_logits: of the last forward pass, one `[tokens, experts]` for each router.
        loads: share of the tokens that each expert got in it, one `[experts]` for each router.

    Raises:
        ValueError: unknown method.
    """

    def __init__(self, model: torch.nn.Module, method: str, weight: float, bias_rate: float = 1e-3) -> None:
        if method not in METHODS:
            raise ValueError(f"There is no balancing method {method!r}; use one of {', '.join(METHODS)}.")
        self.method, self.weight, self.bias_rate = method, weight, bias_rate
        self.routers = [module for module in model.modules() if isinstance(module, Llama4Router)]
        self.biases = [router.weight.new_zeros(router.num_experts) for router in self.routers]
        self.router_logits, self.loads = [None] * len(self.routers), [None] * len(self.routers)
        self.handles = [
            router.register_forward_hook(lambda module, _, output, at=at: self._after(at, module, *output))
            for at, router in enumerate(self.routers)
        ]

    def _after(self, at: int, router: Llama4Router, scores: torch.Tensor, logits: torch.Tensor):
        if self.method == "bias":
            chosen = (logits.detach() + self.biases[at].to(logits.device)).topk(router.top_k, dim=1).indices
            scores = torch.zeros_like(logits).scatter(1, chosen, logits.gather(1, chosen).sigmoid())
        self.router_logits[at] = logits
        self.loads[at] = (scores.detach() > 0).float().mean(dim=0) / router.top_k
        return scores, logits

    def loss(self) -> torch.Tensor | float:
        """What to add to the language model's loss."""
        if self.method != "loss" or not self.routers:
            return 0.0
        return self.weight * balance_loss(self.router_logits)

    def after_step(self) -> None:
        """Move the biases by the loads of the last forward pass."""
        if self.method == "bias":
            for bias, load in zip(self.biases, self.loads, strict=True):
                bias += self.bias_rate * (load.mean() - load).sign().to(bias.device)

    def busiest(self) -> list[float]:
        """The load of each router's busiest expert in units of its share, 1 in perfect balance (MaxVio + 1)."""
        return [round((load.max() * len(load)).item(), 3) for load in self.loads]

    def dead(self) -> list[int]:
        """How many experts of each router had less than a tenth of their share."""
        return [int((load < 0.1 / len(load)).sum()) for load in self.loads]

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self.handles:
            handle.remove()

    def state_dict(self) -> dict[str, list[torch.Tensor]]:
        """What a resumed run needs."""
        return {"biases": self.biases}

    def load_state_dict(self, state: dict[str, list[torch.Tensor]]) -> None:
        """Take up a saved run's biases."""
        self.biases = state["biases"]
