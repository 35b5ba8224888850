"""Graders of the two exercises of notebook 06 on where experts go: which device holds which, and which twice."""

import json

import numpy as np

from llama4lab.assets import ASSETS
from llama4lab.grading import Exercise, Sign

# ---- the device of each expert, integers `[experts]` ----


def olmoe_loads():
    """Loads of the 64 experts of OLMoE's last layer, one row for each kind of text."""
    counts = json.loads((ASSETS / "measurements" / "olmoe_loads.json").read_text(encoding="utf-8"))["counts"]
    return np.array([np.array(layers["15"]) / sum(layers["15"]) for layers in counts.values()])


def straggler_factor(placed, load):
    total = np.bincount(placed, weights=load)
    return total.max() / total.mean()


def place_experts(load, devices):
    """Busiest expert first, each to the device with the least load that has room."""
    return place_greedily(load, devices, np.argsort(-load, kind="stable"), len(load) // devices)


def place_greedily(load, devices, order, places):
    room, total, placed = np.full(devices, places), np.zeros(devices), np.zeros(len(load), dtype=int)
    for expert in order:
        placed[expert] = np.where(room > 0, total, np.inf).argmin()
        room[placed[expert]] -= 1
        total[placed[expert]] += load[expert]
    return placed


def deal(load, turn, descending=True):
    """Experts in the order of their load, dealt out to the devices that `turn` names."""
    placed = np.empty(len(load), dtype=int)
    placed[np.argsort(-load if descending else load, kind="stable")] = np.resize(turn, len(load))
    return placed


def forth_and_back(load, devices):
    return deal(load, [*range(devices), *reversed(range(devices))])


def of_each_device(load, devices):
    placed = place_experts(load, devices)
    return [np.flatnonzero(placed == device).tolist() for device in range(devices)]


def example_loads():
    """Loads and numbers of devices: OLMoE's equal mix, and random ones with some experts several times as busy."""
    yield np.mean(olmoe_loads(), axis=0), 8
    rng = np.random.default_rng(5)
    for experts, devices in ((16, 4), (128, 8)):
        load = np.exp(rng.normal(0, 0.6, experts))
        yield load / load.sum(), devices


def held(result):
    return np.bincount(result)


def spreads_well(result, right, arguments):
    load, devices = arguments
    legal = min(result) >= 0 and max(result) < devices and len(set(held(result))) == 1
    return legal and straggler_factor(result, load) <= 1.01 * straggler_factor(right, load)


PLACEMENT = Exercise(
    right=place_experts,
    cases=list(example_loads()),
    accepts=spreads_well,
    mistakes={
        "This is the contiguous placement, which does not look at the load.": (
            lambda load, devices: np.arange(len(load)) // (len(load) // devices)
        ),
        "The busiest experts are all on one device: that is the worst placement; spread them.": (
            lambda load, devices: deal(load, np.arange(devices).repeat(len(load) // devices))
        ),
        "Dealing the sorted experts out as 0 1 2 … 0 1 2 … favors one end: go forth and back, or look at the loads.": [
            lambda load, devices: deal(load, range(devices)),
            lambda load, devices: deal(load, range(devices), descending=False),
        ],
        "It deals the experts out by number and does not look at the load.": (
            lambda load, devices: np.arange(len(load)) % devices
        ),
        "Forth and back is fair to the ends, but does not look at the loads so far; one busy expert spoils it.": (
            forth_and_back
        ),
        "Return the device of each expert, `[experts]`, not the experts of each device.": of_each_device,
        "It names a device that is not there; they count from 0.": Sign(
            lambda result, right, case: not 0 <= min(result) <= max(result) < case[1],
            lambda load, devices: place_experts(load, devices) + 1,
        ),
        "Memory is equal, so each device must hold equally many experts.": Sign(
            lambda result, right, _: len(set(held(result))) > 1,
            lambda load, devices: place_greedily(load, devices, np.argsort(-load), len(load)),
        ),
        "The straggler factor is larger than that of placing greedily; spread the busy experts.": Sign(
            lambda result, right, _: True,
            lambda load, devices: place_greedily(load, devices, range(len(load)), len(load) // devices),
        ),
    },
)

# ---- the expert in each place of each device, integers `[devices, places]` ----


def even_copies(load, devices, places):
    """How many copies each expert gets where each spare place goes to the busiest copy."""
    copies = np.ones(len(load), dtype=int)
    while copies.sum() < devices * places:
        copies[(load / copies).argmax()] += 1
    return copies


def spread_copies(load, devices, places, copies):
    """The copies placed greedily by the load of each."""
    expert_of_copy = np.arange(len(load)).repeat(copies)
    load_of_copy = (load / copies)[expert_of_copy]
    device_of_copy = place_greedily(load_of_copy, devices, np.argsort(-load_of_copy, kind="stable"), places)
    return np.array([expert_of_copy[device_of_copy == device] for device in range(devices)])


def copy_busy_experts(load, devices, places):
    return spread_copies(load, devices, places, even_copies(load, devices, places))


def spare_to(load, devices, places, order):
    """Each expert once, and the spare places one each to the first experts of an order."""
    copies = np.ones(len(load), dtype=int)
    copies[order[: devices * places - len(load)]] += 1
    return spread_copies(load, devices, places, copies)


def by_shared_load_only_after(load, devices, places):
    """The right numbers of copies, each placed as if it had the whole load of its expert."""
    expert_of_copy = np.arange(len(load)).repeat(even_copies(load, devices, places))
    order = np.argsort(-load[expert_of_copy], kind="stable")
    device_of_copy = place_greedily(load[expert_of_copy], devices, order, places)
    return np.array([expert_of_copy[device_of_copy == device] for device in range(devices)])


def doubled_at_home(load, devices, places):
    """Placed as without copies, and then each device doubles its own busiest experts."""
    placed = place_experts(load, devices)
    at_home = [np.flatnonzero(placed == device) for device in range(devices)]
    spare = places - len(load) // devices
    return np.array([[*own, *own[np.argsort(-load[own], kind="stable")][:spare]] for own in at_home])


def copies_stay_at_home(result, right, arguments):
    """Whether some experts have copies, and all copies of each are on one device."""
    rows = [set(row) for row in np.asarray(result).tolist()]
    held = [expert for row in rows for expert in row]
    return len(held) < np.size(result) and len(held) == len(set(held)) == len(arguments[0])


def twice(order):
    """A mistake in the copies, wherever they are placed: one more for each of the first experts of an order."""

    def shows(result, right, arguments):
        load, devices, places = arguments
        copies = np.ones(len(load), dtype=int)
        copies[order(load)[: devices * places - len(load)]] += 1
        experts = np.ravel(result)
        inside = 0 <= experts.min() and experts.max() < len(load)
        return bool(inside and (np.bincount(experts, minlength=len(load)) == copies).all())

    return Sign(shows, lambda load, devices, places: spare_to(load, devices, places, order(load)))


def copied_factor(result, load):
    experts = np.asarray(result)
    copies = np.bincount(experts.flatten(), minlength=len(load))
    total = (load / copies)[experts].sum(axis=1)
    return total.max() / total.mean()


def is_missing_an_expert(result, right, arguments):
    return len(np.unique(result)) < len(arguments[0])


def shares_well(result, right, arguments):
    load = arguments[0]
    legal = np.min(result) >= 0 and np.max(result) < len(load) and not is_missing_an_expert(result, right, arguments)
    return bool(legal and copied_factor(result, load) <= 1.01 * copied_factor(right, load))


def loads_to_copy():
    """Loads with experts that are busier than a whole device may be, devices, and places on each."""
    yield olmoe_loads()[0], 16, 5
    rng = np.random.default_rng(5)
    for experts, devices, places in ((16, 4, 5), (32, 8, 6)):
        load = np.exp(rng.normal(0, 1.2, experts))
        yield load / load.sum(), devices, places


COPIES = Exercise(
    right=copy_busy_experts,
    cases=list(loads_to_copy()),
    accepts=shares_well,
    mistakes={
        "All copies of an expert are on one device, which still has its whole load; spread them over devices.": Sign(
            copies_stay_at_home, doubled_at_home
        ),
        "The spare places hold the first experts again; give them to the busiest.": twice(
            lambda load: np.arange(len(load))
        ),
        "The spare places go to the idlest experts; give them to the busiest.": twice(
            lambda load: np.argsort(load, kind="stable")
        ),
        "Each busy expert has one copy more; the busiest may need several: compare loads for each copy.": twice(
            lambda load: np.argsort(-load, kind="stable")
        ),
        "The copies were placed as if each had its expert's whole load; it is shared among them.": (
            by_shared_load_only_after
        ),
        "It is the device of each copy that is asked for the other way round: `[devices, places]`, an expert in each.": (
            lambda load, devices, places: copy_busy_experts(load, devices, places).T
        ),
        "It names an expert that is not there; they count from 0.": Sign(
            lambda result, right, case: not 0 <= np.min(result) <= np.max(result) < len(case[0]),
            lambda load, devices, places: copy_busy_experts(load, devices, places) + 1,
        ),
        "Some expert is nowhere; a token that chooses it finds no device.": Sign(
            is_missing_an_expert,
            lambda load, devices, places: np.argsort(-load)[np.zeros((devices, places), dtype=int)],
        ),
        "The copies are handed out well, but not placed well; place them by their loads, as in exercise 06.4.": Sign(
            lambda result, right, _: sorted(np.ravel(result)) == sorted(np.ravel(right)),
            lambda load, devices, places: np.sort(
                np.arange(len(load)).repeat(even_copies(load, devices, places))
            ).reshape(devices, places),
        ),
        "The straggler factor is larger than that of handing out the spare places one by one, each to the expert with "
        "the largest load for each copy so far.": Sign(
            lambda result, right, _: True,
            lambda load, devices, places: np.sort(
                np.concatenate([np.arange(len(load)), np.full(devices * places - len(load), load.argmax())])
            ).reshape(devices, places),
        ),
    },
)
