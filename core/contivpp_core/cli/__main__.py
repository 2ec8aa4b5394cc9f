# SPDX-License-Identifier: Apache-2.0
"""`python -m contivpp_core.cli` is the `contivpp` command."""

import sys

from contivpp_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
