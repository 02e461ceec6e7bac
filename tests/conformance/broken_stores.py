"""Artifact stores with one defect each, and the case that has to catch it."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from proofs import Proof, suites_of

from zenml.core.contracts._store import check_key
from zenml.core.errors import ObjectNotFoundError, StoreError, StoreUnavailableError
from zenml.core.stores import LocalArtifactStore
from zenml.core.testing import ArtifactStoreConformance, fake_distribution, importing_from

#: Long enough for another thread or process to come between.
MOMENT = 0.003

PLUGIN = """
from zenml.core.plugins import StoreSpec, hookimpl

@hookimpl
def zenml_artifact_stores():
    yield StoreSpec(scheme="broken", target="broken_stores:{name}", api=1)
"""


class Sound(LocalArtifactStore):
    """Nothing."""

    scheme = "broken"
    patience = 60.0

    def __init__(self, url):
        super().__init__(url.partition("://")[2])
        self.url = url

    def found(self, prefix=""):
        return list(LocalArtifactStore.list(self, prefix))

    def file_for(self, key):
        path = Path(self._path(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class Base(ArtifactStoreConformance):
    make = Sound

    @pytest.fixture(scope="class")
    @classmethod
    def store_url(cls, tmp_path_factory):
        """A URL by which other processes open the broken class, too."""
        site, here = tmp_path_factory.mktemp("site"), Path(__file__).parent
        modules = {"broken_store_plugin": PLUGIN.format(name=cls.make.__name__)}
        entry_points = {"broken": "broken_store_plugin"}
        with importing_from(site), pytest.MonkeyPatch.context() as patched:
            patched.syspath_prepend(here)
            path = os.pathsep.join([str(site), str(here), os.environ.get("PYTHONPATH", "")])
            patched.setenv("PYTHONPATH", path)
            fake_distribution(site, "broken-store", entry_points=entry_points, modules=modules)
            yield f"broken://{tmp_path_factory.mktemp('store')}/artifacts"

    @pytest.fixture(scope="class")
    @classmethod
    def patience(cls):
        return cls.make.patience


# -- found and opened ------------------------------------------------------------------------------


class OfAnotherScheme(Sound):
    """Its class serves another scheme than the one that its plugin registers."""

    scheme = "elsewhere"


class WithANameForItsUrl(Sound):
    """Its URL is a name that only one process knows."""

    names: dict = {}  # noqa: RUF012 - what this process knows

    def __init__(self, url):
        super().__init__(self.names.get(url, url))
        self.url = f"broken://{self.root.name}"
        self.names[self.url] = f"broken://{self.root}"


class WithAChangedUrl(Sound):
    """Its URL leads to a folder inside itself."""

    def __init__(self, url):
        super().__init__(url)
        self.url = f"{url}/inside"


class PreparedOnce(Sound):
    """Refuses to be prepared where a store is already."""

    def prepare(self):
        if self.root.exists():
            raise StoreError("there is a store already", where=self.url)
        super().prepare()


class StartingAfresh(Sound):
    """Empties itself when it is prepared."""

    def prepare(self):
        super().prepare()
        for found in self.found():
            self.delete(found.key)


# -- objects ---------------------------------------------------------------------------------------


class ChangingLineEnds(Sound):
    """Takes bytes for text, and mends its line ends."""

    def write(self, key, data):
        super().write(key, data.replace(b"\r\n", b"\n"))


class ReadingArrays(Sound):
    """Reads into an array that its caller may change."""

    def read(self, key):
        return bytearray(super().read(key))


class KeepingTheRest(Sound):
    """Writes over an object without cutting off what was longer."""

    def write(self, key, data):
        if not self.exists(key):
            super().write(key, data)
            return
        with open(self._path(key), "r+b") as file:
            file.write(data)


class WithErrorsOfItsOwn(Sound):
    """Lets the errors of its library through."""

    def read(self, key):
        try:
            return super().read(key)
        except ObjectNotFoundError:
            raise KeyError(key) from None


class GivingNothing(Sound):
    """Takes a missing object for an empty one."""

    def read(self, key):
        return super().read(key) if self.exists(key) else b""


class CallingItUnavailable(Sound):
    """Says of a missing object that the store cannot be reached."""

    def open(self, key):
        try:
            return super().open(key)
        except ObjectNotFoundError as error:
            raise StoreUnavailableError("not found", where=key) from error


class NamingNoKey(Sound):
    """Says that an object is missing, and not which."""

    def read(self, key):
        try:
            return super().read(key)
        except ObjectNotFoundError:
            raise ObjectNotFoundError("an object is missing") from None


class TakingPrefixesForObjects(Sound):
    """Says that an object is there if any key begins with its key."""

    def exists(self, key):
        return any(self.list(key))


class InsistingOnDeleting(Sound):
    """Fails to delete what is gone already."""

    def delete(self, key):
        self.read(key)
        super().delete(key)


class DeletingMore(Sound):
    """Deletes every object whose key begins with the key."""

    def delete(self, key):
        for found in self.found(key):
            super().delete(found.key)


class Stream(io.BytesIO):
    def seekable(self):
        return False


class OpeningStreams(Sound):
    """Opens an object as a stream that only goes forward."""

    def open(self, key):
        return Stream(self.read(key))


class WithOneFile(Sound):
    """Gives everybody who opens an object the same file."""

    def open(self, key):
        self.files = getattr(self, "files", {})
        if key not in self.files or self.files[key].closed:
            self.files[key] = super().open(key)
        return self.files[key]


class UploadingAPart(Sound):
    """Uploads the first megabyte."""

    def upload(self, key, path):
        self.write(key, path.read_bytes()[: 1 << 20])


class UploadingByLink(Sound):
    """Makes the uploaded file an object that its owner can still change."""

    def upload(self, key, path):
        self.delete(key)
        os.link(path, self.file_for(key))


class UploadingUnasked(Sound):
    """Reads the file to upload without a thought that it may be missing."""

    def upload(self, key, path):
        self.write(key, path.read_bytes())


class UploadingNothing(Sound):
    """Takes a missing file for a missing object."""

    def upload(self, key, path):
        if not path.is_file():
            raise ObjectNotFoundError("no such file", where=str(path))
        super().upload(key, path)


class WithOldCopies(Sound):
    """Gives a copy of an object, made when it was first asked for, as the local path."""

    def local_path(self, key):
        copy = self.root.parent / key.replace("/", "-")
        if not copy.exists() and self.exists(key):
            shutil.copyfile(self._path(key), copy)
        return copy if copy.exists() else None


# -- keys ------------------------------------------------------------------------------------------


class InLowerCase(Sound):
    """Keeps keys in lower case."""

    def write(self, key, data):
        super().write(key.lower(), data)

    def read(self, key):
        return super().read(key.lower())


class MendingKeys(Sound):
    """Makes a key of what is none, so that two names may mean one object."""

    def write(self, key, data):
        super().write(key.replace(" ", "-"), data)


class RefusingInItsOwnWords(Sound):
    """Refuses a bad key with an error that is no StoreError."""

    def write_if_absent(self, key, data):
        try:
            check_key(key)
        except StoreError as error:
            raise ValueError(str(error)) from error
        return super().write_if_absent(key, data)


# -- the first of many -----------------------------------------------------------------------------


class AlwaysWriting(Sound):
    """Writes whether something is there or not."""

    def write_if_absent(self, key, data):
        self.write(key, data)
        return True


class LookingFirst(Sound):
    """Looks whether an object is there, and then writes it."""

    def write_if_absent(self, key, data):
        if self.exists(key):
            return False
        time.sleep(MOMENT)
        self.write(key, data)
        return True


class LockingItsProcess(LookingFirst):
    """Looks and writes under a lock that other processes know nothing of."""

    lock = threading.Lock()

    def write_if_absent(self, key, data):
        with self.lock:
            return super().write_if_absent(key, data)


# -- whole or not there ----------------------------------------------------------------------------


def write_slowly(file, data):
    """Write one half, and after a moment the other."""
    half = len(data) // 2
    file.write(data[:half])
    file.flush()
    time.sleep(MOMENT)
    file.write(data[half:])


class WritingInPlace(Sound):
    """Writes an object where readers find it before it is whole."""

    def write(self, key, data):
        with self.file_for(key).open("wb") as file:
            write_slowly(file, data)


class DeletingFirst(Sound):
    """Deletes an object before it writes the new one."""

    def write(self, key, data):
        self.delete(key)
        time.sleep(MOMENT)
        super().write(key, data)


class ReservingTheKey(Sound):
    """Makes an empty object to be the first, and fills it later."""

    def write_if_absent(self, key, data):
        try:
            with self.file_for(key).open("xb") as file:
                write_slowly(file, data)
        except FileExistsError:
            return False
        return True


class UploadingInPlace(Sound):
    """Copies a file to where readers find it before it is whole."""

    def upload(self, key, path):
        with self.file_for(key).open("wb") as file:
            write_slowly(file, path.read_bytes())


# -- listings --------------------------------------------------------------------------------------


class ListingByFolder(Sound):
    """Lists folder by folder, which is another order than that of keys."""

    def list(self, prefix, *, after=None):
        found = super().list(prefix, after=after)
        return iter(sorted(found, key=lambda row: row.key.split("/")))


class ListingFolders(Sound):
    """Takes a prefix for a folder."""

    def list(self, prefix, *, after=None):
        folder = f"{prefix.rstrip('/')}/"
        return (row for row in super().list(prefix, after=after) if row.key.startswith(folder))


class ListingFromAfter(Sound):
    """Lists the key ``after`` as well."""

    def list(self, prefix, *, after=None):
        return (row for row in super().list(prefix) if after is None or row.key >= after)


class ListingFromAnObject(Sound):
    """Needs the object ``after`` to be there to go on behind it."""

    def list(self, prefix, *, after=None):
        known = after is None or self.exists(after)
        return super().list(prefix, after=after) if known else iter(())


class ListingOnePage(Sound):
    """Lists what a service gives in one answer, and asks for no more."""

    def list(self, prefix, *, after=None):
        return itertools.islice(super().list(prefix, after=after), 1000)


class CountingCharacters(Sound):
    """Says how many characters an object has."""

    def list(self, prefix, *, after=None):
        for row in super().list(prefix, after=after):
            text = self.read(row.key).decode("utf-8", "replace")
            yield row._replace(size=len(text))


class WithoutATimeZone(Sound):
    """Gives times without their zone."""

    def list(self, prefix, *, after=None):
        for row in super().list(prefix, after=after):
            yield row._replace(modified=row.modified.replace(tzinfo=None))


class KeepingTheAge(Sound):
    """Takes an uploaded object to be as old as its file was."""

    def upload(self, key, path):
        age = path.stat()
        super().upload(key, path)
        os.utime(self._path(key), (age.st_atime, age.st_mtime))


class StumblingOverGaps(Sound):
    """Fails to list an object that went away since it was found."""

    def list(self, prefix, *, after=None):
        for row in list(super().list(prefix, after=after)):
            time.sleep(MOMENT / 10)
            self.read(row.key)
            yield row


class ListingByNumber(Sound):
    """Goes on listing at a number, which is another object as soon as one is gone."""

    def list(self, prefix, *, after=None):
        for number in itertools.count():
            row = next(itertools.islice(super().list(prefix, after=after), number, None), None)
            if row is None:
                return
            yield row


# -- seen by all -----------------------------------------------------------------------------------


class RememberingReads(Sound):
    """Remembers what it has read or written, although others write as well."""

    def __init__(self, url):
        super().__init__(url)
        self.memory = {}

    def read(self, key):
        return self.memory.setdefault(key, super().read(key))

    def write(self, key, data):
        super().write(key, data)
        self.memory[key] = data


class RememberingLists(Sound):
    """Remembers a listing until it writes something itself."""

    def __init__(self, url):
        super().__init__(url)
        self.memory = {}

    def list(self, prefix, *, after=None):
        if prefix not in self.memory:
            self.memory[prefix] = list(super().list(prefix, after=after))
        return iter(self.memory[prefix])

    def write(self, key, data):
        super().write(key, data)
        self.memory.clear()


class RememberingInTheProcess(RememberingReads):
    """All of its instances share a memory, of which other processes know nothing."""

    shared: dict = {}  # noqa: RUF012 - shared is what it is about

    def __init__(self, url):
        super().__init__(url)
        self.memory = self.shared


class WithOneBuffer(Sound):
    """Prepares what it writes in a place that all threads share."""

    def write(self, key, data):
        self.buffer = data
        time.sleep(MOMENT)
        super().write(key, self.buffer)


class LeavingFilesOpen(Sound):
    """Keeps the files open that it has read."""

    patience = 0.5
    files = []  # noqa: RUF012 - so that they stay open

    def read(self, key):
        self.files.append(self.open(key))
        return self.files[-1].read()


BASE = Base

TABLE = [
    Proof("test_its_scheme_opens_it", OfAnotherScheme, "serves another scheme"),
    Proof("test_its_url_opens_it_again", WithAChangedUrl, "has another"),
    Proof("test_its_url_opens_it_again", WithANameForItsUrl, "in another process"),
    Proof("test_preparing_again_changes_nothing", PreparedOnce, "must do nothing, and failed"),
    Proof("test_preparing_again_changes_nothing", StartingAfresh, "took away"),
    Proof("test_what_is_written_is_read", ChangingLineEnds, "did not give the bytes"),
    Proof("test_what_is_written_is_read", ReadingArrays, "gives bytes, not a bytearray"),
    Proof("test_a_write_replaces_the_whole_object", KeepingTheRest, "did not replace"),
    Proof("test_a_missing_object_is_a_typed_error", WithErrorsOfItsOwn, "raised KeyError"),
    Proof("test_a_missing_object_is_a_typed_error", GivingNothing, "raised no StoreError"),
    Proof("test_a_missing_object_is_a_typed_error", CallingItUnavailable, "not StoreUnavailable"),
    Proof("test_a_missing_object_is_a_typed_error", NamingNoKey, "does not name the key"),
    Proof("test_it_knows_which_objects_are_there", TakingPrefixesForObjects, "is no object"),
    Proof("test_deleting_what_is_gone_is_no_error", InsistingOnDeleting, "is no error"),
    Proof("test_deleting_what_is_gone_is_no_error", DeletingMore, "takes exactly its key"),
    Proof("test_a_file_is_opened_for_reading_anywhere", OpeningStreams, "a seekable file"),
    Proof("test_a_file_is_opened_for_reading_anywhere", WithOneFile, "disturb each other"),
    Proof("test_an_upload_is_the_whole_file", UploadingAPart, "did not make the object"),
    Proof("test_an_upload_is_the_whole_file", UploadingByLink, "changes with the uploaded"),
    Proof("test_an_upload_of_no_file_is_a_store_error", UploadingUnasked, "FileNotFoundError"),
    Proof("test_an_upload_of_no_file_is_a_store_error", UploadingNothing, "no missing object"),
    Proof("test_a_local_path_is_the_object", WithOldCopies, "not the object as it is now"),
    Proof("test_every_key_that_is_allowed_is_kept", InLowerCase, "came back changed"),
    Proof("test_other_keys_are_refused", MendingKeys, "raised no StoreError"),
    Proof("test_other_keys_are_refused", RefusingInItsOwnWords, "raised ValueError"),
    Proof("test_only_what_is_absent_is_written", AlwaysWriting, "the second gets False"),
    Proof("test_exactly_one_of_many_threads_is_the_first", LookingFirst, "exactly one gets True"),
    Proof(
        "test_exactly_one_of_many_processes_is_the_first",
        LockingItsProcess,
        "exactly one gets True",
    ),
    Proof("test_a_reader_never_sees_half_a_write", WritingInPlace, "half an object"),
    Proof("test_a_reader_never_sees_half_a_write", DeletingFirst, "was not there"),
    Proof("test_a_reader_never_sees_half_of_what_was_absent", ReservingTheKey, "half an object"),
    Proof("test_a_reader_never_sees_half_an_upload", UploadingInPlace, "half an object"),
    Proof("test_a_listing_is_in_the_order_of_keys", ListingByFolder, "bytes of whole keys"),
    Proof("test_a_prefix_need_not_end_with_a_folder", ListingFolders, "that start with it"),
    Proof("test_a_listing_goes_on_behind_a_key", ListingFromAfter, "the keys behind"),
    Proof("test_a_listing_goes_on_behind_a_key", ListingFromAnObject, "the keys behind"),
    Proof("test_a_long_listing_is_complete", ListingOnePage, "however many there are"),
    Proof("test_a_listing_tells_sizes_and_times", CountingCharacters, "in bytes"),
    Proof("test_a_listing_tells_sizes_and_times", WithoutATimeZone, "aware time in UTC"),
    Proof("test_a_listing_tells_sizes_and_times", KeepingTheAge, "when the object was written"),
    Proof("test_a_listing_survives_changes", StumblingOverGaps, "fails while others"),
    Proof("test_a_listing_survives_changes", ListingByNumber, "while others"),
    Proof("test_another_instance_sees_every_change_at_once", RememberingReads, "as it was before"),
    Proof("test_another_instance_sees_every_change_at_once", RememberingLists, "does not list"),
    Proof(
        "test_another_process_sees_every_change_at_once",
        RememberingInTheProcess,
        "as it was before",
    ),
    Proof("test_one_instance_serves_many_threads", WithOneBuffer, "each other's bytes"),
    Proof("test_nothing_is_left_behind", LeavingFilesOpen, "left behind"),
]

SUITES = suites_of(BASE, TABLE)
globals().update(SUITES)
