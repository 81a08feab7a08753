"""A catalog of past runs that has no answer now is asked again, for a while."""

import pytest

from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.past_runs import Patient, Wanted

DOCUMENTS = [("start", {"uid": "a"})]


class Catalog:
    """Fails so many times, then answers."""

    def __init__(self, failures, error=None):
        self.failures, self.asked = failures, 0
        self.error = error or Unavailable("500 Internal Server Error")

    def _answer(self, answer):
        self.asked += 1
        if self.asked <= self.failures:
            raise self.error
        return answer

    def find(self, wanted):
        return self._answer(list(wanted.uids))

    def documents(self, run_uid):
        return self._answer(DOCUMENTS)

    def archive(self):
        return lambda: self


def test_one_that_answers_is_asked_once():
    catalog, slept = Catalog(0), []
    assert Patient(catalog, [1.0], slept.append).documents("a") == DOCUMENTS
    assert (catalog.asked, slept) == (1, [])


def test_one_that_is_busy_is_asked_again_after_each_pause():
    catalog, slept = Catalog(2), []
    assert Patient(catalog, [1.0, 2.0], slept.append).documents("a") == DOCUMENTS
    assert slept == [1.0, 2.0]
    assert Patient(Catalog(1), [0.0], slept.append).find(Wanted(["a"])) == ["a"]


def test_one_that_stays_away_is_named_after_the_last_pause():
    catalog, slept = Catalog(9), []
    with pytest.raises(Unavailable, match="500"):
        Patient(catalog, [1.0, 2.0], slept.append).documents("a")
    assert (catalog.asked, slept) == (3, [1.0, 2.0])


def test_a_run_that_cannot_be_told_is_not_asked_for_again():
    catalog = Catalog(1, BadFrame("databroker cannot give its documents"))
    with pytest.raises(BadFrame):
        Patient(catalog, [1.0], lambda _: None).documents("a")
    assert catalog.asked == 1


def test_its_archive_is_the_catalogs_own():
    catalog = Catalog(0)
    assert Patient(catalog).archive()() is catalog
