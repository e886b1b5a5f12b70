CREATE FEATURE SERVICE s AS
SELECT o.departures_1h, d.departures_1h AS b
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
LEFT JOIN airport_load o ON o.airport = r.origin
LEFT JOIN airport_load d ON d.airport = r.origin;
