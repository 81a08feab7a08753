"""Names of numbered files, from templates that strangers may have written."""

import pytest

from qd_agent.core.errors import BadFrame
from qd_agent.documents.templates import read_template


@pytest.mark.parametrize(
    ("template", "filename", "name"),
    [
        ("cam_{:06d}.tiff", "", "cam_000042.tiff"),
        ("cam_{:d}.tiff", "", "cam_42.tiff"),
        ("cam_{}.tiff", "", "cam_42.tiff"),
        ("cam_{0:04d}.tiff", "", "cam_0042.tiff"),
        ("{:5d}.tiff", "", "   42.tiff"),
        ("/{filename}_{:03d}.tif", "cam", "/cam_042.tif"),
        ("%s%s_%6.6d.tiff", "cam", "cam_000042.tiff"),
        ("%s%s_%d.tiff", "cam", "cam_42.tiff"),
        ("%s_%05d.tiff", "cam", "cam_00042.tiff"),
        ("%s%s_%5d.tiff", "100%", "100%_   42.tiff"),
    ],
)
def test_either_style_is_understood(template, filename, name):
    assert read_template(template, filename).name(42) == name


def test_a_number_longer_than_its_place_is_written_in_full():
    assert read_template("{:02d}").name(12345) == "12345"


@pytest.mark.parametrize(
    "template",
    [
        "cam.tiff",
        "{:d}_{:d}.tiff",
        "{0.__class__}",
        "{:d}{filename.__init__}",
        "{:9999d}",
        "{:99999999999d}",
        "%999.999d",
        "%s%s%*d",
        "../{:d}.tiff",
        "sub/../../{:d}.tiff",
        "..\\{:d}.tiff",
        "a\nb{:d}",
        "{:d}" + "x" * 5000,
        "{!r}",
        "%(name)d",
        "{:n}",
        "",
    ],
)
def test_what_is_more_than_a_number_or_leads_elsewhere_is_refused(template):
    with pytest.raises(BadFrame) as caught:
        read_template(template)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_filename_leads_nowhere_else():
    with pytest.raises(BadFrame, match="lie elsewhere"):
        read_template("%s%s_%d.tiff", "../../etc/passwd")


def test_the_name_is_added_to_the_folder_as_it_stands():
    template = read_template("/a b_{:d}#.tiff")
    assert template.uri("file://localhost/data", 1) == "file://localhost/data/a%20b_1%23.tiff"
    assert template.uri("file://localhost/data/", 1) == "file://localhost/data/a%20b_1%23.tiff"
    prefixed = read_template("_{:d}.tiff")
    assert prefixed.uri("file://localhost/data/uid", 1) == "file://localhost/data/uid_1.tiff"


def test_names_agree_with_bluesky():
    utils = pytest.importorskip("bluesky_tiled_plugins.utils")
    for template, filename in (
        ("%s%s_%6.6d.tiff", "cam"),
        ("%s%s_%04d.tiff", "cam"),
        ("%s_%d.tiff", "cam"),
        ("cam_{:06d}.tiff", ""),
    ):
        theirs = utils.compile_template(template, filename)
        for number in (0, 7, 1234567):
            assert read_template(template, filename).name(number) == theirs.format(number)
