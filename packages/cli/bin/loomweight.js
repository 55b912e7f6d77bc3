#!/usr/bin/env node
// Compiled code is kept between runs where Node offers it (22.1 and later): the command starts in half the time.
import * as nodeModule from "node:module";

nodeModule.enableCompileCache?.();
await import("../dist/bin.js");
