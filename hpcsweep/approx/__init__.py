"""The mathematics: targets, models, training and the meter. The only place that imports torch."""
