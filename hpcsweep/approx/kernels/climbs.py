"""Steps of projected L-BFGS, each climb for itself: what `supnorm.search.climbers` does in tensors, in loops."""

from __future__ import annotations

import numpy as np

from hpcsweep.approx.kernels.compiling import INTEGER, NOTHING, NUMBER, VECTOR, entry, inlined

_ROUNDOFF, _SMALL, _CURVED = 2.0**-53, 1e-300, 1e-12


@inlined
def _direct(
    row: int,
    dimension: int,
    memory: int,
    without: float,
    moves: np.ndarray,
    turns: np.ndarray,
    weights: np.ndarray,
    shares: np.ndarray,
    direction: np.ndarray,
) -> None:
    """Turn slopes, in `direction`, into the L-BFGS direction; into `without` times them if nothing is remembered."""
    for m in range(memory - 1, -1, -1):
        at, product = (row * memory + m) * dimension, 0.0
        for k in range(dimension):
            product += moves[at + k] * direction[k]
        shares[m] = weights[row * memory + m] * product
        for k in range(dimension):
            direction[k] -= shares[m] * turns[at + k]
    at, square, factor = (row * memory + memory - 1) * dimension, 0.0, without
    if weights[row * memory + memory - 1] != 0.0:
        for k in range(dimension):
            square += turns[at + k] * turns[at + k]
        factor = 1.0 / (weights[row * memory + memory - 1] * square)
    for k in range(dimension):
        direction[k] *= factor
    for m in range(memory):
        at, product = (row * memory + m) * dimension, 0.0
        for k in range(dimension):
            product += turns[at + k] * direction[k]
        back = weights[row * memory + m] * product
        for k in range(dimension):
            direction[k] += (shares[m] - back) * moves[at + k]


@inlined
def _leaves(place: float, slope: float, low: float, high: float) -> bool:
    """Return whether a slope leads out of the domain."""
    return (place >= high and slope > 0.0) or (place <= low and slope < 0.0)


@entry(NOTHING, INTEGER, INTEGER, INTEGER, NUMBER, *[VECTOR] * 13)
def propose(
    climbs: int,
    dimension: int,
    memory: int,
    longest: float,
    box: np.ndarray,
    places: np.ndarray,
    values: np.ndarray,
    slopes: np.ndarray,
    moves: np.ndarray,
    turns: np.ndarray,
    weights: np.ndarray,
    length: np.ndarray,
    reach: np.ndarray,
    settled: np.ndarray,
    trials: np.ndarray,
    shares: np.ndarray,
    room: np.ndarray,
) -> None:
    """Write the next place of each climb, which goes up, to first order; those that gain nothing become settled.

    Parameters
    ----------
    longest: step of a coordinate, in half sides
    box: (3, dimension), low and high ends and half sides; all others as in `climbers.Climbers`, `settled` 1 or 0
    shares, room: (memory,) and (2, dimension), overwritten
    """
    for row in range(climbs):
        at, steepest = row * dimension, _SMALL
        for k in range(dimension):
            slope = slopes[at + k]
            if _leaves(places[at + k], slope, box[k], box[dimension + k]):
                slope = 0.0
            room[k] = room[dimension + k] = slope
            steepest = max(steepest, abs(slope))
        without = reach[row] / steepest
        _direct(row, dimension, memory, without, moves, turns, weights, shares, room)
        gain = 0.0
        for k in range(dimension):
            if _leaves(places[at + k], slopes[at + k], box[k], box[dimension + k]):
                room[k] = 0.0
            gain += room[k] * room[dimension + k]
        if not gain > 0.0:
            gain = 0.0
            for k in range(dimension):
                room[k] = without * room[dimension + k]
                gain += room[k] * room[dimension + k]
        if gain <= _ROUNDOFF * values[row]:
            settled[row] = 1.0
        largest = _SMALL
        for k in range(dimension):
            largest = max(largest, abs(room[k]))
        stays, factor = True, min(longest / largest, 1.0)
        for k in range(dimension):
            move = length[row] * room[k] * factor if settled[row] == 0.0 else 0.0
            trial = min(max(places[at + k] + box[2 * dimension + k] * move, box[k]), box[dimension + k])
            stays = stays and trial == places[at + k]
            trials[at + k] = trial
        if stays:
            settled[row] = 1.0


@inlined
def _remember(
    row: int,
    dimension: int,
    memory: int,
    half: np.ndarray,
    places: np.ndarray,
    trials: np.ndarray,
    before: np.ndarray,
    slopes: np.ndarray,
    moves: np.ndarray,
    turns: np.ndarray,
    weights: np.ndarray,
) -> None:
    """Push an accepted step with negative curvature into the memory."""
    at, product, move_square, turn_square = row * dimension, 0.0, 0.0, 0.0
    for k in range(dimension):
        move = (trials[at + k] - places[at + k]) / half[2 * dimension + k]
        turn = before[at + k] - slopes[at + k] if move != 0.0 else 0.0
        product += move * turn
        move_square += move * move
        turn_square += turn * turn
    if not product > _CURVED * (np.sqrt(move_square) * np.sqrt(turn_square)):
        return
    first, last = row * memory * dimension, ((row + 1) * memory - 1) * dimension
    for i in range(first, last):
        moves[i], turns[i] = moves[i + dimension], turns[i + dimension]
    for m in range(row * memory, (row + 1) * memory - 1):
        weights[m] = weights[m + 1]
    for k in range(dimension):
        move = (trials[at + k] - places[at + k]) / half[2 * dimension + k]
        moves[last + k] = move
        turns[last + k] = before[at + k] - slopes[at + k] if move != 0.0 else 0.0
    weights[(row + 1) * memory - 1] = 1.0 / product


@entry(NOTHING, INTEGER, INTEGER, INTEGER, NUMBER, NUMBER, NUMBER, *[VECTOR] * 14)
def accept(
    climbs: int,
    dimension: int,
    memory: int,
    longest: float,
    shorter: float,
    shortest: float,
    box: np.ndarray,
    places: np.ndarray,
    values: np.ndarray,
    slopes: np.ndarray,
    positive: np.ndarray,
    moves: np.ndarray,
    turns: np.ndarray,
    weights: np.ndarray,
    length: np.ndarray,
    reach: np.ndarray,
    settled: np.ndarray,
    trials: np.ndarray,
    errors: np.ndarray,
    rises: np.ndarray,
) -> None:
    """Take over the trials that are better, NaN and inf included; remember, lengthen or shorten.

    Parameters
    ----------
    longest, shorter, shortest: of steps, see `climbers`
    errors, rises: signed errors (climbs,) at the trials and their slopes per half side, which are overwritten
    """
    for row in range(climbs):
        at, value, is_positive = row * dimension, abs(errors[row]), 1.0 if errors[row] >= 0.0 else 0.0
        size = 0.0
        for k in range(dimension):
            size = max(size, abs((trials[at + k] - places[at + k]) / box[2 * dimension + k]))
            if is_positive == 0.0:
                rises[at + k] = -rises[at + k]
        better = settled[row] == 0.0 and (value > values[row] or value != value)
        flipped = better and is_positive != positive[row]
        if better and not flipped:
            _remember(row, dimension, memory, box, places, trials, slopes, rises, moves, turns, weights)
        if better:
            for k in range(dimension):
                places[at + k], slopes[at + k] = trials[at + k], rises[at + k]
            values[row], positive[row] = value, is_positive
        if not values[row] < np.inf:
            settled[row] = 1.0
        length[row] = min(2.0 * length[row], 1.0) if better else shorter * length[row]
        lost, alone = flipped or length[row] < shortest, weights[(row + 1) * memory - 1] == 0.0
        if lost:
            for m in range(row * memory, (row + 1) * memory):
                weights[m] = 0.0
        if lost or alone:
            length[row] = 1.0
        if better:
            reach[row] = min(2.0 * size, longest)
        elif lost or alone:
            reach[row] = shorter * size
