"""What each step of the steps page shows: a title and a description."""

from typing import NamedTuple

from flask_babel import lazy_gettext as _
from flask_babel.speaklater import LazyString


class Step(NamedTuple):
    """Describe a step of the page; `id` is also its fragment in the address."""

    id: str
    title: LazyString
    words: LazyString


STEPS = (
    Step(
        "photo",
        _("Opened and turned upright"),
        _(
            "The file is decoded into red, green and blue values for each pixel and rotated "
            "upright by its EXIF orientation. All further steps use this upright photo."
        ),
    ),
    Step(
        "grey",
        _("Grey and small"),
        _(
            "Detection uses brightness alone. It first searches a copy of bounded size and goes "
            "on to finer copies only where that may find more faces. The histogram counts the "
            "pixels of each brightness, from black on the left to white on the right."
        ),
    ),
    Step(
        "features",
        _("The first Haar features"),
        _(
            "A window slides over the copy. Each Haar feature compares the brightness of two "
            "parts of it: eyes, for example, are darker than the cheeks below them. The first "
            "three features of the cascade are drawn on the upright face. A window that fails "
            "an early stage is rejected at once, which makes the search fast."
        ),
    ),
    Step(
        "windows",
        _("Windows that pass"),
        _(
            "Only the first stages of the cascade are applied, so that rotated and dark faces "
            "pass, as do many windows without a face. Every window that passes is drawn. With the "
            "combined detector, a small network proposes squares too, also for covered faces and "
            "profiles, which the cascade rejects."
        ),
    ),
    Step(
        "proposals",
        _("Face or not"),
        _(
            "Overlapping windows are merged into regions. The face refiner, a small network, sorts "
            "most of them out and estimates the exact position and rotation of the face in the "
            "others. The face classifier, a larger one that also sees what is around the face, "
            "decides. Its score is the probability that the region holds a face."
        ),
    ),
    Step(
        "crop",
        _("The crop"),
        _(
            "The square around the face is cropped with the margin used in training; beyond the "
            "photo's edge, the edge is repeated. The crop is resized to the network's input "
            "size. The network sees nothing else of the photo."
        ),
    ),
    Step(
        "whole",
        _("The whole photo, resized"),
        _(
            "This model classifies the whole photo; no face is detected or cropped. The photo "
            "is resized to the square input of the network, whatever its shape. The network "
            "sees nothing else of it."
        ),
    ),
    Step(
        "filters",
        _("The first filters"),
        _(
            "The first layer convolves the crop with these filters. Middle grey is a weight of "
            "zero; lighter weights are positive and darker ones negative. The weights were "
            "learned in training, and many filters respond to edges of one direction."
        ),
    ),
    Step(
        "maps",
        _("Feature maps"),
        _(
            "Each tile is one channel: it shows where a learned pattern occurs in the crop, the "
            "brighter the stronger. Each block halves the resolution, so that a value covers a "
            "larger part of the crop."
        ),
    ),
    Step(
        "spread",
        _("Activations of the layers"),
        _(
            "Each histogram counts the activations of one layer above zero, from weak on the "
            "left to strong on the right. The ReLU sets negative values to zero, so that a "
            "large share of them is exactly zero."
        ),
    ),
    Step(
        "where",
        _("What the prediction depends on"),
        _(
            "A patch occludes one region of the crop after another; the colour shows how far "
            "the log-odds of the class fall, which is the logit's fall against the other classes. "
            "This is the evidence that the network uses. It "
            "says nothing about what a person would look at or what anybody feels."
        ),
    ),
    Step(
        "softmax",
        _("From logits to probabilities"),
        _(
            "The network returns a logit for each class. The logits are divided by the "
            "temperature, and softmax turns them into probabilities. The temperature was fitted "
            "on labelled photos, so that about 70 in 100 predictions with a probability of 0.7 "
            "are right."
        ),
    ),
    Step(
        "decision",
        _("The decision"),
        _(
            "The most probable class is the answer if it reaches the threshold; otherwise the "
            "answer is “unsure”. The threshold is the lowest at which confident answers reach "
            "the precision required by the model's recipe. The probability of “none of these”, "
            "where a model has it, follows from the energy of the logits."
        ),
    ),
)
