"""From labeled images to a checkpoint that `build` takes.

The images, in reading order: `entries` (one labeled image, wherever its bytes lie), `folders`,
`lists` and `shards` (what finds them), `readable` (which of them are damaged), `packed` (a million
of them in few bytes), `sources` (training and validation sets), `augment` (random views of an
image) and `loading` (batches for any number of processes).

The training, in reading order: `recipes` (every number, with its source), `settings` (what a run is
asked to do), `schedule`, `optimizers`, `ema`, `freeze`, `start` (random weights or a checkpoint),
`learner` (one update), `validation`, `run_folder` (what is on disk), `engine` (the loop) and `runs`
(who calls it). Beside them `distributed`, `device`, `interrupt`, `curves` and `tensorboard`.
"""
