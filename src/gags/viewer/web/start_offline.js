"use strict";
startPage(new OfflineBackend());
