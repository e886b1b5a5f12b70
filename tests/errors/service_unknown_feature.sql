CREATE FEATURE SERVICE s AS
SELECT o.departures_2h, o.airport AS code, q.x, departures AS d, departures_1h AS e, airport
FROM REQUEST (origin VARCHAR, dest VARCHAR, tailnum VARCHAR, n BIGINT) r
LEFT JOIN airport_load o ON o.airport = r.origin
LEFT JOIN airport_load d ON d.airport = r.dest;
