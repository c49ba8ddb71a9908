"""Starts the emulator with `patches/`, which mend faults that would hide what is to be tested.

Each patch says which behaviour of AWS it brings; `patches.test.mjs` shows that each is still needed.
With EVENTDB_PATCHES=none the emulator is started as it was published.
"""

import os

from ministack import app

from patches import (
    batch_get_capacity,
    batch_permissions,
    global_index_attributes,
    leading_keys,
    log_permissions,
    local_index_attributes,
    scan_order,
    stream_after_restart,
    subscription_protocol,
    transaction_keys,
    transaction_size,
)

PATCHES = (
    batch_get_capacity,
    batch_permissions,
    global_index_attributes,
    leading_keys,
    log_permissions,
    local_index_attributes,
    scan_order,
    stream_after_restart,
    subscription_protocol,
    transaction_keys,
    transaction_size,
)

if __name__ == "__main__":
    if os.environ.get("EVENTDB_PATCHES") != "none":
        for patch in PATCHES:
            patch.apply()
    # With TLS it would take port 443 as well, where it can.
    app._port_is_bindable = lambda host, port: False
    app.main()
