/*
 * names.c - see names.h.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "names.h"

/* Each word has at most 15 bytes: two of them and a space fit. */
static const char *const kinds[] = { "Amber", "Ancient", "Astral", "Blazing",
	"Bold", "Brazen", "Bright", "Brisk", "Calm", "Cobalt", "Copper",
	"Cosmic", "Crimson", "Daring", "Electric", "Emerald", "Endless",
	"Fearless", "Flying", "Frozen", "Gallant", "Gentle", "Gilded", "Golden",
	"Hidden", "Humble", "Invisible", "Jade", "Keen", "Lively", "Loyal",
	"Lucky", "Lunar", "Magnetic", "Mighty", "Misty", "Nimble", "Noble",
	"Northern", "Patient", "Quick", "Quiet", "Radiant", "Restless",
	"Rising", "Roaring", "Rustic", "Scarlet", "Secret", "Silent", "Silver",
	"Sleepless", "Solar", "Steady", "Stormy", "Swift", "Tireless",
	"Unbroken", "Velvet", "Vivid", "Wandering", "Wild", "Wise", "Young" };

static const char *const heroes[] = { "Acrobat", "Anchor", "Archer", "Arrow",
	"Badger", "Beacon", "Blacksmith", "Bolt", "Boulder", "Brook", "Cipher",
	"Cliff", "Comet", "Compass", "Condor", "Crane", "Dolphin", "Dragonfly",
	"Drummer", "Echo", "Ember", "Falcon", "Ferret", "Fjord", "Gale",
	"Gardener", "Geyser", "Glacier", "Gryphon", "Hammer", "Harbour",
	"Heron", "Ibex", "Juggler", "Kestrel", "Kite", "Lantern", "Lighthouse",
	"Lynx", "Mariner", "Meteor", "Mole", "Monsoon", "Oak", "Orbit", "Otter",
	"Owl", "Painter", "Pendulum", "Pilot", "Prism", "Raven", "River",
	"Sentinel", "Shepherd", "Signal", "Sparrow", "Tailor", "Tempest",
	"Thistle", "Tide", "Torch", "Weaver", "Wren" };

static const char *
pick(const char *const *words, size_t n)
{
	return words[arc4random_uniform((uint32_t)n)];
}

void
name_make(char name[NAME_SIZE])
{
	snprintf(name, NAME_SIZE, "%s %s",
	    pick(kinds, sizeof kinds / sizeof *kinds),
	    pick(heroes, sizeof heroes / sizeof *heroes));
}
