"""How right what was built is on labeled data, and whether it is less right than the float model.

    models    what is on disk, opened and run; what does not run says why
    records   what an evaluation comes to
    judge     what a task adds: labeled data, what is kept of a model's results, its figures
    classes   classifiers: top-1 and top-5
    objects   detectors: COCO's mean average precision
    regions   segmenters: mean intersection over union, right pixels
    evaluate  all models over all images

All models see the same images, so each is compared with the float model image by image, or on the
same resamples: the interval of the difference is several times narrower than that of either figure.
"""
