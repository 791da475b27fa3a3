"""The texts of pages and scripts: each is translated into the reader's language when it is used."""

from flask_babel import lazy_gettext as _
from flask_babel import lazy_ngettext as ngettext

from app.vision.models.cards import NONE_OF_THESE

LABELS = {
    "angry": _("angry"),
    "disgust": _("disgust"),
    "fear": _("fear"),
    "happy": _("happy"),
    "sad": _("sad"),
    "surprise": _("surprise"),
    "neutral": _("neutral"),
    "contempt": _("contempt"),
    "female": _("female"),
    "male": _("male"),
    "child": _("child"),
    "older": _("older"),
    "dress": _("dress"),
    "hat": _("hat"),
    "longsleeve": _("long-sleeved top"),
    "outwear": _("outerwear"),
    "pants": _("trousers"),
    "shirt": _("shirt"),
    "shoes": _("shoes"),
    "shorts": _("shorts"),
    "skirt": _("skirt"),
    "t-shirt": _("T-shirt"),
    NONE_OF_THESE: _("none of these"),
}

TASKS = {
    "expression": _("Expression shown"),
    "gender": _("Perceived gender"),
    "face": _("Face or not"),
    "clothing": _("Clothing"),
}

# Kinds of images that an out-of-distribution measurement used, and of faces in hard-faces.
KINDS = {
    "clothing": _("clothes"),
    "faces": _("faces"),
    "animals": _("animals"),
    "things": _("things"),
    "manuals": _("a manual's photos, pages and drawings"),
    "portraits": _("portraits"),
    "natural": _("whole photos of a natural mix"),
    "by_class": _("whole photos drawn by class"),
    "backgrounds": _("backgrounds of photos"),
    "patterns": _("fur, grass and sky"),
    "puzzles": _("clothes cut up and shuffled"),
    "scenes": _("scikit-image's pictures"),
    "masked": _("masked"),
    "profile": _("side-on"),
    "sunglasses": _("with sunglasses"),
    "cut": _("cut by the border"),
    "dark": _("dark"),
    "small": _("of 20 to 32 pixels"),
    "frontal": _("frontal"),
    "all": _("all"),
}

# Changes of images whose effect on the accuracy was measured.
CHANGES = {
    "blur": _("blur"),
    "shrink": _("shrinking"),
    "compress": _("compression"),
    "darken": _("darkening"),
    "turn": _("rotation"),
    "shift": _("shifting"),
    "zoom": _("zooming"),
    "occlude": _("occlusion"),
    "grey": _("greyscale"),
    "none": _("no change"),
}

# How far a picture was changed, by `training.evaluate.robustness.CHANGES`.
LEVELS = {
    "blur": _("standard deviation {level}%"),
    "shrink": _("to {level} pixels"),
    "compress": _("JPEG quality {level}"),
    "darken": _("gamma {level}"),
    "turn": _("by {level}°"),
    "shift": _("by {level}%"),
    "zoom": _("{level} × the side"),
    "occlude": _("the lowest {level}%"),
    "grey": _("no colours"),
}

# Labels of groups of people, as UTKFace has them.
GROUPS = {
    "White": _("White"),
    "Black": _("Black"),
    "Asian": _("Asian"),
    "Indian": _("Indian"),
    "other": _("other"),
    "all": _("all"),
    "female": LABELS["female"],
    "male": LABELS["male"],
}

SETTINGS = {
    "working_side": _("Side of the searched copy, in pixels"),
    "most_proposals": _("Most regions classified"),
    "promising": _("Score that is classified again"),
    "accepted": _("Score of a face"),
    "accepted_rare": _("Score of a face of a rare size or rotation"),
}

DETECTORS = {
    "combined": _("Network and Haar cascade"),
    "haar": _("Haar cascade alone"),
}

EFFORTS = {
    "fast": _("Fast: one pass"),
    "balanced": _("Balanced: again where no face"),
    "thorough": _("Thorough: all rotations and sizes"),
}

OTHER_VERSION = _(
    "The server's networks are no longer those of these samples, and features of two versions "
    "are never mixed. Start anew, or open the lesson on the server that it was made with."
)

# Sentences for error codes; {name} stands for a value of the error's `extensions`.
ERRORS = {
    "image_missing": _("No photo arrived. Choose a photo and send it again."),
    "image_several": _("More than one photo arrived. Send one at a time."),
    "image_empty": _(
        "This file is empty. If the photo was still being copied or downloaded, "
        "wait until that is done and choose it again."
    ),
    "frame_time_invalid": _("A frame's time was missing or out of order; reload the page."),
    "frame_empty": _("The camera's frame was empty; the next one is tried."),
    "image_unreadable": _(
        "This file could not be opened as a picture; it may be damaged or cut short. "
        "Save it again as JPEG or PNG and try that copy."
    ),
    "image_too_large": _(
        "What you sent is larger than {limit_mb} MB, the most that this server takes at once. "
        "Save a smaller copy of the photo and try that one."
    ),
    "request_slow": _(
        "The upload was too slow and was cancelled. Use a better connection, or save a smaller "
        "copy of the photo and try that one."
    ),
    "image_dimensions": _(
        "This photo is too small or too large to read. Each side must have at least "
        "{minimum_side} pixels, and the whole photo at most {limit_megapixels} megapixels. "
        "Resize it and try again."
    ),
    "image_scans": _(
        "This JPEG is stored in more than {limit_scans} scans, the most that are read at its "
        "size. Save the photo again as a JPEG that is not progressive, and try that copy."
    ),
    "image_type": _(
        "This kind of file is not read here. Save the photo as {accepted} and try again."
    ),
    "unknown_model": _(
        "This server has no model of that name. It has {choices}. Reload the page and try again."
    ),
    "unknown_labels": _(
        "This server has no expression labels of that name. It has {choices}. "
        "Reload the page and try again."
    ),
    "no_face_model": _(
        "A live stream reads faces, and the chosen models do not. Choose one of {choices}."
    ),
    "models_of_one_task": _("Choose only one model for each task: one of {choices}."),
    "model_of_other_task": _("That model is for another task. Choose one of {choices}."),
    "detector_setting": _(
        "The setting {name} must lie between {low} and {high}. Change it and try again."
    ),
    "not_a_whole_number": _("The field {name} must be a whole number. Change it and try again."),
    "not_a_number": _("The field {name} must hold a number. Change it and try again."),
    "unknown_effort": _(
        "This server has no search effort of that name. It has {choices}. Reload the page and "
        "try again."
    ),
    "unknown_detector": _(
        "This server has no detector of that name. It has {choices}. Reload the page and try again."
    ),
    "rate_limited": _(
        "Too much came from your address in a short time. Wait a minute and try again."
    ),
    "token_missing": _(
        "This server requires a token to read photos. Reload the page to enter yours."
    ),
    "token_unknown": _("This server doesn't know that token. Check it and try again."),
    "foreign_origin": _(
        "The request came from another site's page and was rejected. Use Raut's own pages, at "
        "the server's own address."
    ),
    "host_not_trusted": _(
        "On this machine Raut answers only at localhost or at an IP address. Its operator can "
        "allow other names by RAUT_TRUSTED_HOSTS."
    ),
    "not_found": _("There is nothing at this address. It may have been mistyped."),
    "method_not_allowed": _("This address accepts submitted forms only. Go back and start again."),
    "bad_request": _("The server could not understand what this browser sent."),
    "analysis_timeout": _(
        "The photo could not be read within {limit_seconds} seconds. Try a smaller copy or a "
        "lower effort, or wait until the server is less busy."
    ),
    "busy": _("The server is busy with other photos. Wait a few seconds and try again."),
    "inference_unavailable": _(
        "The inference server does not respond at the moment. Wait a few seconds and try again; "
        "the live page resumes by itself."
    ),
    "internal": _(
        "The server failed to read this photo. Try again; if it keeps failing, report it to "
        "this server's operator."
    ),
    "features_outdated": OTHER_VERSION,
    "head_invalid": _("The server can't make a model of this: {field} is not as it must be."),
    "unknown_region": _("No loaded model has features for this. Choose the other region."),
    "name_taken": _("Raut has a model of that name itself. Choose another name."),
    "network": _("The server could not be reached. Check your connection and try again."),
}

# Why a face can't be read, by the reading's `reason`.
REASONS = {
    "covered": _("Part of the face is covered: this reading can't be trusted."),
    "turned": _("The face is turned away: this reading can't be trusted."),
    "blurred": _("The face is blurred: this reading can't be trusted."),
    "tiny": _("The face has too few pixels: this reading can't be trusted."),
    "dark": _("The face is too dark: this reading can't be trusted."),
}

BELOW_LIMIT = _("{probability} {label}: below the {limit} that this model needs.")

# What the scripts of every page that shows faces say.
FACES = {
    "labels": LABELS,
    "errors": ERRORS,
    "no_face": _("No face found"),
    "unsure": _("unsure"),
    "reasons": REASONS,
    "below_limit": BELOW_LIMIT,
    "face": _("Face {number}"),
    "box_name": _("Face {number}: {expression}"),
    "gender": _("Perceived gender"),
}

CAMERA = {
    "opening": _("Opening the camera…"),
    "insecure": _(
        "The browser gives a camera only to pages over HTTPS or on this same computer. "
        "Open Raut that way, or choose a photo instead."
    ),
    "unsupported": _("This browser offers no camera to web pages. Choose a photo instead."),
    "denied": _(
        "The browser did not allow the camera. Allow it in the site's settings and try "
        "again, or choose a photo instead."
    ),
    "missing": _("No camera was found on this device. Choose a photo instead."),
    "busy": _(
        "The camera could not be opened; another program may be using it. "
        "Close that program and try again."
    ),
}

PHOTO_PAGE = {
    **FACES,
    "found": {
        "one": ngettext("{count} face found", "{count} faces found", 1),
        "other": ngettext("{count} face found", "{count} faces found", 2),
    },
    "tasks": TASKS,
    "no_garment": _("None of these kinds of clothes"),
    "no_garment_help": _(
        "The picture shows none of the kinds of clothing that the model knows. What helps: one "
        "garment that fills the picture, in good light."
    ),
    "no_face_help": _(
        "What helps: come closer, find more light, keep the head upright and face the camera."
    ),
    "no_answer": _("No answer for this photo"),
    "reading": _("Reading the photo…"),
    "cancelled": _("Cancelled. Choose another photo."),
    "expression": _("Expression shown"),
    "score": _("Face score {score} · {width} × {height} pixels"),
    "photo_of": _("Your photo, {name}"),
    "busy_waiting": _("The server is busy: trying again in a moment…"),
    "photo_incomplete": _(
        "The file breaks off: the photo was read as far as it goes. Copy or download it again to "
        "read the rest."
    ),
    "faces_truncated": _("There are more faces: the {count} that were found most surely are read."),
    "photo_not_shown": _("Your browser cannot show this photo. The readings are not affected."),
    "nothing_to_paste": _("There is no picture on the clipboard."),
    "nothing_to_drop": _("What you dropped is not a file. Drop a photo from your device."),
    "no_photos": _("There are no photos in this folder."),
    "no_sample": _("The server does not send this sample photo now. Choose a photo of your own."),
    "states": {
        "waiting": _("Waiting"),
        "reading": _("Reading the photo…"),
        "failed": _("No answer for this photo"),
    },
    "thumbnail": _("{name}: {state}"),
    "read_of": _("{done} of {count} read"),
    "failed": _("{count} failed"),
    "seconds_left": _("about {count} s left"),
    "minutes_left": _("about {count} min left"),
    "leave_all": _("The answers about all photos will be discarded."),
    "marking": _("Marking {done} of {count}…"),
    "sending": _("Sending the photo: {percentage}%"),
    "finding": _("Finding faces and reading each one"),
    "shrunk": _("A copy of {width} × {height} pixels was sent, for speed."),
    "snapshot": _("snapshot"),
    "pasted": _("pasted photo"),
    "steps": {
        "decode": _("Opening the photo"),
        "detect": _("Finding faces"),
        "detect_first_pass": _("of which the first pass"),
        "detect_more_passes": _("of which further passes"),
        "classify": _("Reading"),
        "total": _("In all"),
    },
    "camera": {
        **CAMERA,
        "ready": _("The camera is on. Nothing is sent until you take the photo."),
    },
}

LIVE_PAGE = {
    **FACES,
    "milliseconds": _("{count} ms"),
    "seconds": _("{count} s"),
    "camera_number": _("Camera {number}"),
    "states": {
        "live": _("LIVE"),
        "reconnecting": _("RECONNECTING, {seconds} s"),
        "paused": _("PAUSED"),
        "stopped": _("STOPPED"),
    },
    "pause": _("Pause"),
    "resume": _("Resume"),
    "start_recording": _("Start recording"),
    "stop_recording": _("Stop recording"),
    "recorded": _("{minutes}:{seconds} · {count} rows"),
    "recorded_marks": _("{minutes}:{seconds} · {count} rows · marks: {marks}"),
    "mark": _("mark"),
    "deleted": _("Deleted"),
    "full_screen": _("Full screen"),
    "exit_full_screen": _("Exit full screen"),
    "percent": _("{count}%"),
    "timeline": {
        "ago": _("{count} s ago"),
        "now": _("now"),
        "empty": _("No readings of this face in the last minute."),
        "summary": _(
            "Face {number} in the last minute: mostly {expression}, {share} of the frames."
        ),
    },
    "status": {
        "connecting": _("Connecting to the server…"),
        "live": _("Live. Each frame is read and discarded."),
        "paused": _("Paused. The camera is on, and nothing is sent."),
        "left": _("Paused, because you left this tab. Nothing is sent until you resume."),
        "stopped": _("Stopped. The camera is released."),
        "waiting": _("Trying again in {seconds} s."),
        "photos": _(
            "Live connections are blocked on the way to this server. Frames go one by one "
            "as photos instead: slower, and not smoothed."
        ),
        "no_full_screen": _("This browser does not let a page fill the screen."),
    },
    "closed": {
        "lost": _("The connection to the server was lost."),
        "server_stops": _("The server is restarting."),
        "silent": _("The server closed a connection that was silent for too long."),
        "too_many_streams": _("All live streams of this server are in use."),
        "message_too_large": _(
            "The server takes frames of at most 2 MB; this camera's are larger."
        ),
        "foreign_origin": _(
            "The server takes live frames only from its own pages. "
            "Open this page at the server's own address."
        ),
        "too_many_faults": _("The server could not read this camera's frames."),
        "rate_limited": _("Too many frames came from your address in a short time."),
        "token_missing": ERRORS["token_missing"],
        "token_unknown": ERRORS["token_unknown"],
        "protocol_error": _("The connection was corrupted between this browser and the server."),
    },
    "camera": {
        **CAMERA,
        "gone": _(
            "The camera is no longer available: it was unplugged, or its permission was withdrawn."
        ),
    },
}

FILM_PAGE = {
    **FACES,
    "closed": LIVE_PAGE["closed"],
    "percent": LIVE_PAGE["percent"],
    "opening": _("Opening the film…"),
    "not_playable": _(
        "Your browser can't play this film. Save it as MP4 (H.264) or WebM and try that copy; the "
        "command raut analyze reads most other kinds."
    ),
    "range_invalid": _(
        "Give times as minutes and seconds, the first before the second, up to {end}."
    ),
    "connecting": LIVE_PAGE["status"]["connecting"],
    "reading": _("Reading. Each frame is read and discarded."),
    "reading_photos": LIVE_PAGE["status"]["photos"],
    "waiting": LIVE_PAGE["status"]["waiting"],
    "paused": _("Paused. Nothing is sent."),
    "cancelled": _("Cancelled after {count} frames; what was read of them stays."),
    "done": _("Done: {count} frames are read."),
    "pause": _("Pause"),
    "resume": _("Resume"),
    "play": _("Play"),
    "stop_playing": _("Stop"),
    "progress": _("{done} of {count} frames, {left} left"),
    "person": _("Person {number}"),
    "name_of": _("Name of person {number}"),
    "choose_person": _("Show the curves of {name}"),
    "seen": _("Seen from {from} to {until}"),
    "not_seen": _("Not seen"),
    "suggestion": _(
        "{other}, who comes at {time}, is where {person} was, at the same size. "
        "Are they one person?"
    ),
    "both_visible": _("Both are visible at once, so they can't be one person."),
    "nothing_to_split": _("Go to a moment between the person's first and last frame."),
    "baseline_from": _("The face is neutral from here on"),
    "baseline_until": _("The face is neutral until here"),
    "baseline_remove": _("Remove the baseline"),
    "baseline_set": _("The baseline is set; the curves can show the change from it."),
    "baseline_empty": _("In these seconds no expression of this person was read."),
    "exclude_from": _("Leave out from here on"),
    "exclude_until": _("Leave out until here"),
    "mark": _("mark"),
    "report_settings": _(
        "Read at {rate} frames per second from {from} to {until}; models: {models}; Raut {version}."
    ),
    "report_person": _(
        "{name}: visible for {seen}; changes of expression: {changes}; mean block: {block} s."
    ),
}

STEPS_PAGE = {
    "errors": ERRORS,
    "labels": LABELS,
    "working": _("Computing every step…"),
    "done": _("Every step is shown. The arrow keys go from one to the next."),
    "filter": _("Filter {number} of {count}"),
    "convolution": _("Sum {sum}, plus the bias {bias}, after the ReLU: {value}"),
    "channel": _("Channel {number} of {count}"),
}

TEACH_PAGE = {
    **FACES,
    "camera": LIVE_PAGE["camera"],
    "percent": _("{count}%"),
    "start_camera": _("Start the camera"),
    "stop_camera": _("Stop the camera"),
    "camera_on": _("The camera is on. Hold a class's button to show it."),
    "stopped": LIVE_PAGE["status"]["stopped"],
    "class_name": _("Class {number}"),
    "no_samples": _("No samples yet"),
    "counted": _("Samples: {count} · recordings: {recordings}"),
    "remove_sample": _("Remove sample {number}"),
    "no_name": _("Give this class a name."),
    "marked_up": _(
        "A model's names have none of < > & and quotes. The lesson keeps them as they are."
    ),
    "alike": _("Another class has this name. Give each its own."),
    "forget_class": _("Remove the class {name} and its samples?"),
    "forget_all": _("Remove all samples? Save the lesson first if you want to go on with it."),
    "no_photos": _("There are no photos in what you chose."),
    "full": _(
        "This page holds {most} samples: {taken} of these {count} are taken. More of the same kind "
        "hardly help; `python -m training teach` learns from folders of any size."
    ),
    "waiting": _("{count} are still on their way."),
    "no_face_in": _(
        "No face was found in {count} of the pictures, so they were left out. What helps: come "
        "closer, find more light, face the camera; or teach whole pictures."
    ),
    "other_version": OTHER_VERSION,
    "twice": _("Left out: {name} has this very picture in another recording."),
    "no_lesson": _("{name} is not a lesson of this page, or it is damaged."),
    "twins": _(
        "{one} and {other} have {count} equal samples. Remove them from one of the classes: they "
        "teach that both are right."
    ),
    "nothing_yet": _("Show at least two classes, and what was learned stands here."),
    "one_class": _("One class alone can't be told from anything. Show samples of a second one."),
    "more_samples": _("Show at least two samples of each class: one to learn from, one to test."),
    "fitted": _("Learned from {count} samples in {milliseconds} ms."),
    "not_honest": _(
        "Some class has only one recording, so its samples were learned and tested together: "
        "neighbours are alike, and the figures too good. Record each class at least twice."
    ),
    "still_measuring": _("The figures are still being measured. Try again in a moment."),
    "nothing_to_test": _("Nothing is learned yet: show samples of two classes first."),
    "right": _("{share} right, in truth probably {low} to {high} (interval of 95%)."),
    "of_recordings": _("{count} samples of {recordings} recordings."),
    "of_samples": _("{count} samples, taken as independent."),
    "curve_across": _("Samples of each class"),
    "curves": {
        "features": _("Accuracy with the features, by samples of each class: {points}."),
        "pixels": _("Accuracy with raw pixels: {points}."),
    },
    "wrong_count": _("{wrong} of {count} samples are answered wrongly."),
    "hard_wrong": _("{label}, taken for {taken} ({probability})"),
    "hard_right": _("{label}, with only {probability}"),
    "temperature": _(
        "Chosen by cross-validation: C = {strength} for the L2 penalty, temperature {temperature}."
    ),
    "cost": _("Of all samples {answered} are answered, and {right} of the answers are right."),
    "cost_all": _("No sample is answered: set a lower limit."),
    "none_of_these": _("Unsure, or none of these (below {limit})"),
    "label_en": _("English name of {name}"),
    "label_id": _("Indonesian name of {name}"),
    "making": _("Joining the networks and your layer…"),
    "made": _("{name}.zip is made. Unzip it into the folder models/ and restart the server."),
    "advice": {
        "once": _("Record {name} once more, in other light or with another person."),
        "few": _("Show more samples of {name}: it has only {count}."),
        "leak": _(
            "It recognises the recordings rather than the classes: more recordings help, of other "
            "people, in other light, before other walls."
        ),
        "taken": _(
            "{name} is taken for {other} in {count} of {of} samples: show more where they differ."
        ),
        "rising": _("The curve is still rising: more samples will help."),
        "flat": _(
            "More samples of the same kind hardly help. Other people, light and angles may show "
            "what it can't do yet."
        ),
    },
}
