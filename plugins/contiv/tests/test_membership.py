# SPDX-License-Identifier: Apache-2.0
"""By which plugin a node is one of a cluster."""

from __future__ import annotations

import pytest

from contivpp_contiv.membership import id_book, in_cluster, publisher
from contivpp_core.agent import Agent
from contivpp_core.errors import ContivError
from contivpp_core.identity import StoreIdBook, StorePublisher
from contivpp_core.plugin import Plugin
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_datastore.plugin import DatastorePlugin


class Book(Plugin):
    """A plugin that has a book of its own, once it has started."""

    name = "book"
    started = False

    @property
    def id_book(self) -> str:
        return self._part("book")

    @property
    def publisher(self) -> str:
        return self._part("publisher")

    def _part(self, name: str) -> str:
        if not self.started:
            raise ContivError("not started")
        return name


def agent(*plugins: Plugin) -> Agent:
    config = {"nodeName": "n1", "plugins": [plugin.name for plugin in plugins]}
    return Agent(config, plugins, ledger_path=None, serve=False)


def test_a_node_by_itself():
    alone = agent()
    assert not in_cluster(alone)
    with pytest.raises(ContivError, match="add datastore"):
        id_book(alone)


def test_the_store_has_the_book():
    member = agent(DatastorePlugin(MemoryKVStore()))
    assert in_cluster(member)
    assert isinstance(id_book(member), StoreIdBook)
    assert isinstance(publisher(member), StorePublisher)


def test_a_store_that_is_not_open_yet_is_an_error_that_passes():
    member = agent(DatastorePlugin())
    assert in_cluster(member)
    with pytest.raises(ContivError):
        publisher(member)


def test_a_plugin_with_a_book_of_its_own_comes_first():
    book = Book()
    member = agent(DatastorePlugin(MemoryKVStore()), book)
    assert in_cluster(member)
    with pytest.raises(ContivError, match="not started"):
        id_book(member)
    book.started = True
    assert (id_book(member), publisher(member)) == ("book", "publisher")
