-- Will this flight arrive more than 15 minutes late? It is asked two hours before it is due.

-- Trees that were boosted on the flights of February to June; a feature that is missing is a branch of its own. examples/flights/model trains both models.
CREATE MODEL late_v1 FROM 'feature_defs/models/late_v1.onnx' USING delay_v1 (
  features => (*)
) PREDICT (
  late_probability DOUBLE FROM probabilities['1'],
  is_late BOOLEAN FROM label
) WITH (training_set = 'feature_defs/models/delay_v1.training.json', runtime = 'trees');

-- A logistic regression of six features, each of which has a value for every flight, or a default.
CREATE MODEL late_simple FROM 'feature_defs/models/late_simple.onnx' USING delay_v1 (
  features => (distance_km, scheduled_hour, origin_departures_1h, origin_avg_delay_1h, plane_avg_delay_last_10, plane_hours_since_departure)
) PREDICT (
  late_probability DOUBLE FROM probability,
  is_late BOOLEAN FROM label
) WITH (training_set = 'feature_defs/models/delay_v1.training.json');

CREATE DEPLOYMENT late AS late_v1 WITH (fallback = 'late_simple', timeout = '100 ms');
