"""What each step of the steps page teaches: a title and two sentences."""

from dataclasses import dataclass

from flask_babel import lazy_gettext as _
from flask_babel.speaklater import LazyString


@dataclass(frozen=True)
class Step:
    """Describe a step of the page; `id` is also its fragment in the address."""

    id: str
    title: LazyString
    words: LazyString


STEPS = (
    Step(
        "photo",
        _("Opened and turned upright"),
        _(
            "The file's bytes become red, green and blue values for each pixel, and a note "
            "in the file says which way the camera was held. Everything that follows works "
            "on this upright picture."
        ),
    ),
    Step(
        "grey",
        _("Grey and small"),
        _(
            "The search for faces looks at brightness alone, and first on a copy of bounded "
            "size, where most faces are found at once; finer copies are searched only where "
            "they promise more. The histogram counts how many pixels have each brightness, "
            "from black on the left to white on the right."
        ),
    ),
    Step(
        "features",
        _("The first questions"),
        _(
            "The search slides a window over the copy and compares the brightness of two "
            "parts of it: eyes, for one, are darker than the cheeks below them. These are "
            "the first three comparisons, drawn on the face turned upright; a window that "
            "fails early is dropped at once, which makes the search fast."
        ),
    ),
    Step(
        "windows",
        _("Windows that pass"),
        _(
            "Only the first stages of questions are asked, so that turned and dark faces "
            "pass too, and much that is no face. Every window that passes is drawn here; "
            "where no face is found, the photo is turned or lightened and searched again."
        ),
    ),
    Step(
        "proposals",
        _("A network decides"),
        _(
            "Windows that overlap become one place, and a small network looks at each: is "
            "it a face, where exactly, and how far is it turned? The score is its "
            "probability; the places with the best scores are listed."
        ),
    ),
    Step(
        "crop",
        _("The crop"),
        _(
            "The square around the face is cut out with the margin that the network was "
            "trained with, and what lies beyond the photo's edge repeats that edge. Then "
            "the square is brought to the network's size, and these few pixels are all that "
            "it ever sees."
        ),
    ),
    Step(
        "whole",
        _("The whole picture, small"),
        _(
            "This model is asked about the whole picture, so that nothing is searched or cut "
            "out. It is brought to the network's size, a square whatever its shape was, and "
            "these few pixels are all that the network ever sees."
        ),
    ),
    Step(
        "filters",
        _("The first filters"),
        _(
            "The first layer slides these small patterns over the crop: middle grey stands "
            "for zero, lighter adds and darker takes away. Nobody drew them; training found "
            "them, and many react to edges of one direction."
        ),
    ),
    Step(
        "maps",
        _("Feature maps"),
        _(
            "Each tile shows where one learned pattern was found in the crop, the brighter "
            "the stronger. From block to block the picture is halved, and a tile stands for "
            "larger and less nameable parts of the picture."
        ),
    ),
    Step(
        "spread",
        _("How strong the layers answer"),
        _(
            "Each histogram counts the values of one layer above zero, from weak on the "
            "left to strong on the right. The layers set everything negative to zero, so a "
            "large share is exactly zero and only some patterns speak up for this picture."
        ),
    ),
    Step(
        "where",
        _("What the answer hangs on"),
        _(
            "A patch covers one place of the crop after another, and the colour shows how "
            "much of the class's probability goes with it. It shows what this network uses, "
            "not what a person would look at, and not what anybody feels."
        ),
    ),
    Step(
        "softmax",
        _("From logits to probabilities"),
        _(
            "The network ends with one number for each class, its logit; each is divided by "
            "the temperature, and softmax turns them into shares of one. The temperature "
            "was fitted once, on photos with known labels, so that of answers given with "
            "seven tenths, about seven in ten are right."
        ),
    ),
    Step(
        "decision",
        _("The decision"),
        _(
            "The likeliest class is the answer where it reaches the threshold; below it "
            "Raut says “unsure”. The threshold is the lowest at which sure answers were "
            "right as often as the model's recipe asks. A model that may say “none of these” "
            "takes that label's probability from the logits' energy, which is high where no "
            "class speaks up."
        ),
    ),
)
