// Written by `pnpm gen` from the files in methods/.
import type { AnyOptimizerMethod } from "./define.ts";
import { adabelief } from "./methods/adabelief.ts";
import { adadelta } from "./methods/adadelta.ts";
import { adafactor } from "./methods/adafactor.ts";
import { adagrad } from "./methods/adagrad.ts";
import { adam } from "./methods/adam.ts";
import { adamax } from "./methods/adamax.ts";
import { adamp } from "./methods/adamp.ts";
import { adamw } from "./methods/adamw.ts";
import { adan } from "./methods/adan.ts";
import { adopt } from "./methods/adopt.ts";
import { asgd } from "./methods/asgd.ts";
import { classp } from "./methods/classp.ts";
import { lamb } from "./methods/lamb.ts";
import { laprop } from "./methods/laprop.ts";
import { lars } from "./methods/lars.ts";
import { lion } from "./methods/lion.ts";
import { madgrad } from "./methods/madgrad.ts";
import { mars } from "./methods/mars.ts";
import { muon } from "./methods/muon.ts";
import { nadam } from "./methods/nadam.ts";
import { nadamw } from "./methods/nadamw.ts";
import { novograd } from "./methods/novograd.ts";
import { radam } from "./methods/radam.ts";
import { rmsprop } from "./methods/rmsprop.ts";
import { rprop } from "./methods/rprop.ts";
import { scheduleFreeAdamw } from "./methods/schedule-free-adamw.ts";
import { scheduleFreeSgd } from "./methods/schedule-free-sgd.ts";
import { sgd } from "./methods/sgd.ts";
import { sgdp } from "./methods/sgdp.ts";

/** Every optimizer of this package, by name. */
export const optimizers: readonly AnyOptimizerMethod[] = [
  adabelief,
  adadelta,
  adafactor,
  adagrad,
  adam,
  adamax,
  adamp,
  adamw,
  adan,
  adopt,
  asgd,
  classp,
  lamb,
  laprop,
  lars,
  lion,
  madgrad,
  mars,
  muon,
  nadam,
  nadamw,
  novograd,
  radam,
  rmsprop,
  rprop,
  scheduleFreeAdamw,
  scheduleFreeSgd,
  sgd,
  sgdp,
];
