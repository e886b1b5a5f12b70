CREATE FEATURE SERVICE s AS
SELECT o.departures_1h
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r, airport_load o;
