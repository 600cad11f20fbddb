# SPDX-License-Identifier: MIT
"""The tables, in the order in which they stand in the document."""

from .bulk import Bulk
from .echo import Echo
from .handshakes import Handshakes
from .kernel import Kernel
from .many import Many
from .short import Short

TABLES = {table.name: table for table in (Bulk(), Echo(), Short(), Handshakes(), Many(), Kernel())}
