CREATE FEATURE SERVICE s AS
SELECT o.departures_1h
FROM REQUEST r
LEFT JOIN airport_load o ON o.airport = r.origin;
