"use strict";
startPage(new LiveBackend());
