"""What DBOS asks of SQLite is answered by an old one, too, where this Python has such."""

from contextlib import closing

from beluga_stream.adapters.dbos.sqlite import Connection


def test_the_time_of_a_row_has_its_fraction() -> None:
    with closing(Connection(":memory:")) as connection:
        connection.execute("CREATE TABLE rows (id INTEGER, at INTEGER NOT NULL DEFAULT (unixepoch('subsec') * 1000))")
        connection.execute("INSERT INTO rows (id) VALUES (1)")
        ((told, now),) = connection.execute("SELECT at, unixepoch('subsec') * 1000 FROM rows")
        assert 0 <= now - told < 60_000
        assert told > 1_700_000_000_000
