# SPDX-License-Identifier: MIT
"""The tables, in the order in which they stand in the document."""

from .bulk import Bulk
from .echo import Echo

TABLES = {table.name: table for table in (Bulk(), Echo())}
