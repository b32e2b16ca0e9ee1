"""SQL over the lake with DuckDB: each table a view of its current snapshot, nothing fetched from the network.

DuckDB's own Iceberg extension is not used: it would be downloaded at run time. The tables come through pyiceberg as
Arrow, and only those that the query names.
"""

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from sinks.columns import table_schema
from sinks.lake import AUDITED, load_table, open_catalog, table_name

if TYPE_CHECKING:
    from deploy.settings import Settings

TABLES = {table_name(topic): topic for topic in AUDITED}
"""Topic of each table."""


class QueryError(ValueError):
    """SQL that can't be run; the message is DuckDB's. Who wrote the query mends it."""


def query(settings: "Settings", sql: str) -> pa.Table:
    """The result of one SQL statement over the lake's tables; raises QueryError."""
    with duckdb.connect() as connection:
        try:
            connection.execute("SET TimeZone = 'UTC'")
            # DuckDB's own get_table_names binds the query, which can fail before the tables are there.
            register(connection, settings, {name for name in TABLES if name in sql.lower()})
            # Nothing outside the views may be read or written by a query, nor an extension be fetched.
            connection.execute("SET enable_external_access = false")
            found = connection.sql(sql)
            if found is None:
                raise QueryError("this statement gives no rows: ask with SELECT")
            return found.to_arrow_table()
        except duckdb.Error as error:
            raise QueryError(str(error)) from error


def register(
    connection: duckdb.DuckDBPyConnection, settings: "Settings", names: set[str] | frozenset[str] = frozenset(TABLES)
) -> None:
    """Makes a view of each named table of the lake; a table that has no records yet is empty."""
    catalog = open_catalog(settings)
    for name in sorted(names & TABLES.keys()):
        table = load_table(catalog, TABLES[name])
        rows = table.scan().to_arrow() if table else table_schema(AUDITED[TABLES[name]]).empty_table()
        connection.register(name, rows)
