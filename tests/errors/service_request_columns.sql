CREATE FEATURE SERVICE s AS
SELECT o.departures_1h
FROM REQUEST (origin VARCHAR(3), request_time TIMESTAMP, n DOUBLE, n DOUBLE, PRIMARY KEY (n)) r
LEFT JOIN airport_load o ON o.airport = r.origin;
