CREATE FEATURE SERVICE s AS
SELECT departures_1h
FROM airport_load;
