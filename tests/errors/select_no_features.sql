CREATE FEATURE VIEW v ENTITY airport AS SELECT origin AS airport FROM departures;
