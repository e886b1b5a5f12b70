CREATE FEATURE VIEW v ENTITY airport AS FROM departures SELECT origin AS airport;
