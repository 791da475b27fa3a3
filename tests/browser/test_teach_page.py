"""The teaching page in a real browser, from names to a model."""

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect
from skimage import data
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from .helpers import INDONESIAN, answer, answer_with, content, expect_usable, face, picture_file

LENGTH = 400
GREY = picture_file(np.full((48, 48, 3), 128, np.uint8), "grey.png")
BOX = {"x": 4, "y": 4, "width": 30, "height": 30}


class FeatureServer:
    """Stand in for the server's networks: `centre` says what the pictures show from now on."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.random = np.random.default_rng(0)
        self.version = "0123456789ab"
        self.centre: int | None = 0
        self.noise = 1.0
        page.route("**/api/v1/features", self._answer)
        answer_with(page, answer(face(4, 4)))

    def _answer(self, route: Route) -> None:
        body = {"region": "face", "version": self.version, "length": LENGTH, "box": BOX}
        if self.centre is None:
            return route.fulfill(json={**body, "box": None, "features": None, "reason": "no_face"})
        features = np.abs(self.random.normal(0, self.noise, LENGTH))
        features[20 * self.centre : 20 * self.centre + 20] += 1
        pixels = self.random.integers(0, 255, 576, np.uint8)
        route.fulfill(
            json={
                **body,
                "features": encode(features.astype(np.float32)),
                "pixels": encode(pixels),
                "reason": None,
            }
        )

    def show(self, number: int, count: int = 4, shows: int | None = None) -> None:
        """Give photos to the class of a number, as one recording."""
        self.centre = number if shows is None else shows
        samples = self.page.locator(".class-cards > li").nth(number).locator(".sample")
        before = samples.count()
        self.page.locator(".photos").nth(number).set_input_files([GREY] * count)
        expect(samples).to_have_count(before + count)


def encode(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


@pytest.fixture
def teach(live_server: str, page: Page) -> Page:
    page.goto(f"{live_server}/teach")
    return page


@pytest.fixture
def server(teach: Page) -> FeatureServer:
    return FeatureServer(teach)


@pytest.fixture
def taught(teach: Page, server: FeatureServer) -> Page:
    """A page with two classes of two recordings each."""
    teach.locator(".class-name").nth(0).fill("Mask")
    teach.locator(".class-name").nth(1).fill("No mask")
    for _ in range(2):
        server.show(0)
        server.show(1)
    expect(teach.locator("#honest .share-fill")).to_be_visible()
    return teach
