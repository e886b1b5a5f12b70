CREATE FEATURE SERVICE s AS
SELECT o.departures_1h / 2, now() AS now
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
LEFT JOIN airport_load o ON o.airport = r.origin;
