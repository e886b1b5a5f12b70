CREATE FEATURE SERVICE delay AS
SELECT o.departures_1h, o.avg_delay_1h, r.origin, r.distance, r.request_time AS at
FROM REQUEST (origin VARCHAR, distance DOUBLE) r LEFT JOIN airport_load o ON o.airport = r.origin;

CREATE MODEL a FROM 'a.onnx' USING delay (x => (departures_1h)) PREDICT (y DOUBLE)
WITH (runtime = 'tensorrt', sha256 = 'abc', trained = 'x.json', features = 'ABCDEF012345');
CREATE MODEL b FROM 'b.onnx' USING delay (x => (departures_1h)) PREDICT (y DOUBLE) WITH (features = '0123');
